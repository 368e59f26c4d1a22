"""What is looked at while a run goes on, so that a bad one ends after hours and not after weeks.

Everything here is a `Monitor`; what they return joins `metrics.jsonl`, under these names.

On the bank, a few hundred tiles of the run's own slides (`bank.py`, `bank_watch.py`):

    watch_kde                   log-density of the class tokens; kappa when all are the same
    watch_mean_cosine           of two tiles' class tokens; 1 when all are the same
    watch_feature_std           of normalized class tokens times sqrt(dim); 0 when all are the same
    watch_rankme                directions that class tokens use, 1 to the smaller of tiles and dim
    watch_alpha_req             how fast the spectrum falls; about 1 is good, larger is fewer
                                directions, smaller is noise
    watch_cls_patch_cosine      of a tile's class token with its patch tokens
    watch_teacher_entropy       of the teacher's choice of a prototype, mean over tiles, in nats
    watch_mean_choice_entropy   of the choice averaged over tiles; equal to the one above when the
                                teacher says the same of every tile
    watch_prototype_share       prototypes that some tile chooses, of as many as could be; with
                                Sinkhorn-Knopp in the targets that it makes of the bank
    watch_prototype_perplexity  how many prototypes the tiles are spread over
    watch_view_retrieval        tiles whose second view finds its first among all first views
    watch_view_overlap          neighbours of a tile that are the same in both views, a share
    watch_site_accuracy         balanced accuracy of kNN on the tissue source site, patients held
                                out: how much of where a slide was made the features tell
    watch_site_chance           the same with the sites dealt out among the patients, mean of 20
    watch_bank_s                seconds that the look took

On labelled tiles (`labelled_watch.py`):

    watch_knn_accuracy          of kNN on the class
    watch_knn_balanced_accuracy the same, each class counted alike
    watch_labelled_s            seconds that the look took

Of the last steps together (`throughput.py`), with everything between two steps in it:

    watch_patches_per_s         over all devices
    watch_wall_step_s           from step to step
    watch_wait_share            part of the time that was spent waiting for data
    watch_floor_share           part of the time that the step's matrix products need at the best
                                rate of the device (on known GPUs the data sheet's: MFU)
    watch_rss_gib               memory of the process
    watch_cuda_peak_gib         largest that was allocated on the GPU so far
"""
