"""Options of the models, importable without torch.

One file a model, so that a change of one model's options concerns that model alone.

Defaults are what a paper states. Where it is silent or contradicts itself, the option is named
after what it does, and its class says where the text leaves room.
"""
