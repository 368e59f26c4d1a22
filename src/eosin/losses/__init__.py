"""What is minimized: DINO and iBOT against Sinkhorn-Knopp targets, and KDE or KoLeo to spread."""
