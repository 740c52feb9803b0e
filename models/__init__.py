"""Decoder models with unfused attention in plain MindSpore, their checkpoints, and the tools around them."""
