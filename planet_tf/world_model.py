"""The latent world model: encoder, RSSM, decoder and reward head, and what is done with them."""

import contextlib
from collections.abc import Iterator

import gin
import tensorflow as tf

from planet_tf import images, losses, networks, rssm

Batch = dict[str, tf.Tensor]
"""A batch of chunks, aligned so that action[:, t] led to image[:, t] and reward[:, t]: image uint8
[B, L, 64, 64, 3], action float32 [B, L, A], reward float32 [B, L], is_first bool [B, L].
"""


def split_seed(seed: tf.Tensor, count: int) -> tf.Tensor:
    """Splits a stateless seed, int32 [2], into `count` independent ones, int32 [count, 2]."""
    # The algorithm is named because its default differs between XLA and plain TensorFlow.
    return tf.random.experimental.stateless_split(seed, count, alg="philox")


def stateless_normal(shape, seed: tf.Tensor) -> tf.Tensor:
    """Draws float32 standard normals that depend on the seed alone, int32 [2].

    Under XLA the same seed gives other numbers of the same distribution than without.
    """
    return tf.random.stateless_normal(shape, seed, alg="philox")


def stateless_uniform(shape, seed: tf.Tensor) -> tf.Tensor:
    """Draws float32 uniforms in [0, 1) that depend on the seed alone; see `stateless_normal`."""
    return tf.random.stateless_uniform(shape, seed, alg="philox")


PRECISIONS = ("float32", "mixed_bfloat16", "mixed_float16")


@contextlib.contextmanager
def _keras_policy(name: str) -> Iterator[None]:
    """Sets the precision of the Keras layers that are made meanwhile."""
    before = tf.keras.mixed_precision.global_policy()
    tf.keras.mixed_precision.set_global_policy(name)
    try:
        yield
    finally:
        tf.keras.mixed_precision.set_global_policy(before)


@gin.configurable(module="planet_tf", denylist=["action_size", "image_shape"])
class WorldModel(tf.Module):
    """Predicts images and rewards from actions in a latent space (paper section 3).

    Args:
      action_size: A.
      image_shape: (H, W, C) of the environment's images.
      image_size: side in pixels of the square image the model reads and predicts; where it is
        smaller than H and W, images are averaged down to it first.
      image_scale, reward_scale, kl_scale: weights of the loss terms (release: 1, 10, 1).
      free_nats: divergence per step that costs nothing, in nats (release: 3).
      precision: 'float32', or 'mixed_bfloat16' or 'mixed_float16' for layers that compute in 16
        bits; parameters, latent states, likelihoods and divergences are float32 in any case.

    Raises:
      ValueError: for another precision.
    """

    def __init__(
        self,
        action_size: int,
        image_shape: tuple[int, int, int] = (64, 64, 3),
        image_size: int = 64,
        image_scale: float = 1.0,
        reward_scale: float = 10.0,
        kl_scale: float = 1.0,
        free_nats: float = 3.0,
        precision: str = "float32",
        name: str = "world_model",
    ):
        super().__init__(name=name)
        if precision not in PRECISIONS:
            raise ValueError(
                f"WorldModel.precision must be one of {', '.join(PRECISIONS)}, got {precision!r}"
            )
        self.action_size = action_size
        self.image_shape = tuple(image_shape)
        self.image_size = image_size
        self._scales = {
            "image_scale": image_scale,
            "reward_scale": reward_scale,
            "kl_scale": kl_scale,
            "free_nats": free_nats,
        }
        self.precision = precision
        with _keras_policy(precision):
            self.encoder = networks.Encoder()
            self.cell = rssm.RSSMCell()
            self.decoder = networks.Decoder(image_shape=(image_size, image_size, image_shape[-1]))
            self.reward = networks.RewardHead()
        self._build()

    def _build(self) -> None:
        """Makes all variables, so that they can be counted, restored and shared at once."""

        def touch():
            state = self.step(
                tf.zeros([1, *self.decoder.image_shape]),
                tf.zeros([1, self.action_size]),
                tf.ones([1], tf.bool),
                self.cell.initial_state(1),
                tf.zeros([1, self.cell.stoch_size]),
            )
            self.cell.prior(state["deter"])
            self.decoder(rssm.features(state))
            self.reward(rssm.features(state))

        # A graph is faster than eager code: the kernels are not made ready one by one.
        tf.function(touch, autograph=False)()

    def preprocess(self, image: tf.Tensor, noise: tf.Tensor) -> tf.Tensor:
        """Returns what the encoder reads and the decoder predicts (see `images.preprocess`).

        Args:
          image: uint8 [..., H, W, C], the environment's.
          noise: float32 [..., size, size, C], uniform in [0, 1), size being `image_size`.
        """
        return images.preprocess(images.downscale(image, self.image_size), noise)

    def _preprocess_chunk(self, image: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        shape = tf.concat([tf.shape(image)[:2], self.decoder.image_shape], 0)
        return self.preprocess(image, stateless_uniform(shape, seed))

    def loss(self, batch: Batch, seed: tf.Tensor) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        """Returns the negative variational bound of a batch and its terms (paper eq. 4).

        Every chunk starts from the zero state and uses its own action[:, 0]; step 0 counts in all
        three terms.

        Args:
          batch: chunks; see `Batch`.
          seed: int32 [2]; decides the dequantisation noise and the posterior samples.

        Returns:
          The loss, a scalar, and a dict of scalars in nats; see `losses.negative_elbo`.
        """
        image_seed, stoch_seed = tf.unstack(split_seed(seed, 2))
        image = self._preprocess_chunk(batch["image"], image_seed)
        posterior, prior, states = self._observe(image, batch, stoch_seed)
        # A reward [B, L, 1] would broadcast against the mean [B, L] where B == L.
        batch["reward"].shape.assert_is_compatible_with(posterior.batch_shape)
        feat = rssm.features(states)
        loss, terms = losses.negative_elbo(
            self.decoder.distribution(feat).log_prob(image),
            self.reward.distribution(feat).log_prob(batch["reward"]),
            losses.divergence(posterior, prior),
            **self._scales,
        )
        terms["prior_entropy"] = tf.reduce_mean(prior.entropy())
        terms["posterior_entropy"] = tf.reduce_mean(posterior.entropy())
        return loss, terms

    def _observe(self, image, batch, seed):
        shape = tf.concat([tf.shape(image)[:2], [self.cell.stoch_size]], 0)
        noise = tf.ensure_shape(
            stateless_normal(shape, seed), [*image.shape[:2], self.cell.stoch_size]
        )
        return self.cell.observe(self.encoder(image), batch["action"], batch["is_first"], noise)

    def step(
        self, image: tf.Tensor, action: tf.Tensor, is_first: tf.Tensor, state: rssm.State, noise
    ) -> rssm.State:
        """Takes one filtering step: the state after `action` led to `image`.

        Args:
          image: preprocessed float32 [B, H, W, C].
          action: float32 [B, A], the action that was executed before the image.
          is_first: bool [B]; True starts the row from the zero state.
          state: deter [B, D], stoch [B, S].
          noise: float32 [B, S], standard normal.
        """
        inputs = {
            "embed": self.encoder(image),
            "action": action,
            "is_first": tf.cast(is_first, tf.float32)[:, None],
            "noise": noise,
        }
        _, (state,) = self.cell(inputs, (state,))
        return state

    def imagined_return(self, state: rssm.State, action: tf.Tensor, noise: tf.Tensor) -> tf.Tensor:
        """Returns the undiscounted sum of predicted mean rewards, float32 [B], of action sequences.

        Args:
          state: deter [B, D], stoch [B, S].
          action: float32 [B, H, A].
          noise: float32 [B, H, S], standard normal; the prior's samples along the way.
        """
        _, states = self.cell.imagine(action, noise, state, unroll=True)
        return tf.reduce_sum(self.reward(rssm.features(states)), -1)

    def predict(self, batch: Batch, context: int, seed: tf.Tensor) -> dict[str, tf.Tensor]:
        """Filters `context` steps, then predicts the rest from the actions alone.

        Args:
          batch: chunks; see `Batch`.
          context: number of images the model may see, 1 to L - 1.
          seed: int32 [2].

        Returns:
          image: float32 [B, L, H, W, C], the model's reconstruction (first `context` steps) and
            open-loop prediction (the others).
          target: float32 [B, L, H, W, C], the preprocessed images.
          reward: float32 [B, L], predicted mean rewards.

        Raises:
          ValueError: if context leaves nothing to see or nothing to predict.
        """
        length = batch["action"].shape[1]
        if not 0 < context < length:
            raise ValueError(f"context must be 1 to {length - 1} of {length} steps, got {context}")
        image_seed, stoch_seed, open_seed = tf.unstack(split_seed(seed, 3))
        image = self._preprocess_chunk(batch["image"], image_seed)
        seen = {key: value[:, :context] for key, value in batch.items()}
        _, _, states = self._observe(image[:, :context], seen, stoch_seed)
        last = {key: value[:, -1] for key, value in states.items()}
        action = batch["action"][:, context:]
        shape = tf.concat([tf.shape(action)[:2], [self.cell.stoch_size]], 0)
        noise = tf.ensure_shape(stateless_normal(shape, open_seed), [None, length - context, None])
        _, ahead = self.cell.imagine(action, noise, last)
        feat = rssm.features({key: tf.concat([states[key], ahead[key]], 1) for key in states})
        return {
            "image": self.decoder.distribution(feat).mean(),
            "target": image,
            "reward": self.reward.distribution(feat).mean(),
        }
