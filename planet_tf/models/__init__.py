"""The world model: latent models (RSSM, SSM, RNN), networks and losses."""

from planet_tf.models.world_model import WorldModel

__all__ = ["WorldModel"]
