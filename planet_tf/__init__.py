"""PlaNet (Hafner et al. 2019) for TensorFlow 2, Keras and TF-Agents.

The modules, from the ground up: `quiet`, `config`, `images`, `convolutions`, `networks`,
`latent_cell`, `rssm`, `losses`, `world_model`, `planners`, `policy`, `agent`, `environments`,
`files`, `replay`, `checkpoints`, `videos`, `summaries`, `imagination`, `evaluation`, `export`,
`tasks`, `devices`, `signals`, `run_lock`, `run_directory`, `runs`, `training`, `trained`,
`benchmark`, `estimates`, `doctor`, `curves`, `aggregation`, `figures`. Nothing heavy is imported
here: `import planet_tf` is free.
"""

__version__ = "0.1.0"
