"""What each command takes and does; every one is a thin call into the folders."""
