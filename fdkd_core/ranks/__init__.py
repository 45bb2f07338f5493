"""Several processes that train one model: rank 0 is the run, the others follow its training steps."""
