"""VGG-19: the network, its layers and its weights. The only package that imports Flax."""
