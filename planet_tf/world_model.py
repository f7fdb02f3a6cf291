"""The latent world model: encoder, latent model and heads, and what is done with them."""

import contextlib
from collections.abc import Callable, Iterator

import gin
import tensorflow as tf

from planet_tf import images, latent_cell, losses, networks, rssm

Batch = dict[str, tf.Tensor]
"""A batch of chunks, aligned so that action[:, t] led to image[:, t] and reward[:, t]: image uint8
[B, L, 64, 64, 3] and/or state float32 [B, L, N], action float32 [B, L, A], reward and discount
float32 [B, L], is_first bool [B, L].
"""


def split_seed(seed: tf.Tensor, count: int) -> tf.Tensor:
    """Splits a stateless seed, int32 [2], into `count` independent ones, int32 [count, 2]."""
    # The algorithm is named because its default differs between XLA and plain TensorFlow.
    return tf.random.experimental.stateless_split(seed, count, alg="philox")


def stateless_fold_in(seed: tf.Tensor, number: int | tf.Tensor) -> tf.Tensor:
    """Returns another stateless seed, int32 [2], made of one and a number."""
    return tf.random.experimental.stateless_fold_in(seed, number, alg="philox")


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


@gin.configurable(module="planet_tf", denylist=["action_size", "image_shape", "state_size"])
class WorldModel(tf.Module):
    """Predicts observations and rewards from actions in a latent space (paper section 3).

    Where there are images it reads images, and a state beside them is predicted for diagnosis
    alone: from features whose gradient is stopped. Else it reads the state.

    Args:
      action_size: A.
      image_shape: (H, W, C) of the environment's images; None: it shows none.
      state_size: N, components of the environment's state vector; 0: it shows none.
      image_size: side in pixels of the square image the model reads and predicts; where it is
        smaller than H and W, images are averaged down to it first.
      latent: 'rssm', 'ssm' or 'rnn'; see `planet_tf.rssm`.
      observation_scale, reward_scale, kl_scale: weights of the loss terms (release: 1, 10, 1).
      free_nats: divergence per step that costs nothing, in nats (release: 3).
      overshooting_distance: D of latent overshooting, in steps; 1: none.
      overshooting_scale: weight of the overshooting term.
      global_prior_scale: weight of KL(posterior || N(0, I)) (paper's SSM: 0.1).
      continuation_scale: weight of the term that learns whether the episode goes on, which plans
        then reckon with; 0: all episodes are taken to go on.
      precision: 'float32', or 'mixed_bfloat16' or 'mixed_float16' for layers that compute in 16
        bits; parameters, latent states, likelihoods and divergences are float32 in any case.
      encoder: what makes one's own encoder, without arguments: a network of float32
        [N, *input_shape], to [N, E]; see `networks.OwnNetwork`. None: the usual one.
      decoder: what makes one's own decoder, without arguments: a network of float32 [N, F], the
        features, to the mean observation [N, *input_shape]. None: the usual one.

    Raises:
      ValueError: for an unknown latent model or precision, nothing to read, a distance below 1,
        overshooting or a global prior of a model that draws nothing, or networks of one's own that
        return something else.
    """

    def __init__(
        self,
        action_size: int,
        image_shape: tuple[int, int, int] | None = (64, 64, 3),
        state_size: int = 0,
        image_size: int = 64,
        latent: str = "rssm",
        observation_scale: float = 1.0,
        reward_scale: float = 10.0,
        kl_scale: float = 1.0,
        free_nats: float = 3.0,
        overshooting_distance: int = 1,
        overshooting_scale: float = 1.0,
        global_prior_scale: float = 0.0,
        continuation_scale: float = 0.0,
        precision: str = "float32",
        encoder: Callable[[], tf.Module] | None = None,
        decoder: Callable[[], tf.Module] | None = None,
        name: str = "world_model",
    ):
        super().__init__(name=name)
        _check_choice("latent", latent, rssm.CELLS)
        _check_choice("precision", precision, PRECISIONS)
        if not image_shape and not state_size:
            raise ValueError("WorldModel: the environment shows neither an image nor a state")
        if overshooting_distance < 1 or overshooting_distance != int(overshooting_distance):
            raise ValueError(
                "WorldModel.overshooting_distance must be at least 1 and whole, got "
                f"{overshooting_distance}"
            )
        scales = {
            "overshooting_scale": overshooting_scale,
            "global_prior_scale": global_prior_scale,
            "continuation_scale": continuation_scale,
        }
        for name_of, scale in scales.items():
            if not scale >= 0:
                raise ValueError(f"WorldModel.{name_of} must not be negative, got {scale}")
        self.action_size = action_size
        self.precision = precision
        self.reads = "image" if image_shape else "state"
        self.image_size = image_size
        self._scales = {
            "observation_scale": observation_scale,
            "reward_scale": reward_scale,
            "kl_scale": kl_scale,
            "free_nats": free_nats,
        }
        self.overshooting_distance = int(overshooting_distance)
        self._overshooting_scale = overshooting_scale
        self._global_prior_scale = global_prior_scale
        self._continuation_scale = continuation_scale
        self.input_shape: tuple[int, ...] = (state_size,)
        if image_shape:
            self.input_shape = (image_size, image_size, image_shape[-1])
        with _keras_policy(precision):
            self.encoder: networks.Encoder | networks.StateEncoder | networks.OwnNetwork
            self.decoder: networks.Decoder | networks.StateDecoder | networks.OwnNetwork
            if encoder is not None:
                self.encoder = networks.OwnNetwork(
                    "WorldModel.encoder", encoder, self.input_shape, (None,)
                )
            else:
                self.encoder = networks.Encoder() if image_shape else networks.StateEncoder()
            if decoder is None and image_shape:
                self.decoder = networks.Decoder(image_shape=self.input_shape)
            elif decoder is None:
                self.decoder = networks.StateDecoder(state_size=state_size)
            self.cell = rssm.CELLS[latent]()
            if decoder is not None:
                feat = self.cell.features(self.cell.initial_state(1))
                self.decoder = networks.OwnNetwork(
                    "WorldModel.decoder", decoder, feat.shape[1:], self.input_shape
                )
            self.reward = networks.RewardHead()
            self.continuation = networks.ContinuationHead() if continuation_scale else None
            diagnosed = image_shape and state_size
            self.diagnosis = (
                networks.StateDecoder(state_size=state_size, name="diagnosis")
                if diagnosed
                else None
            )
        if not self.cell.stoch_size and (overshooting_distance > 1 or global_prior_scale):
            raise ValueError(
                f"WorldModel.latent={latent!r} draws nothing: it has no divergence for "
                "overshooting_distance or global_prior_scale"
            )
        self._build()

    def _build(self) -> None:
        """Makes all variables, so that they can be counted, restored and shared at once."""

        def touch():
            state = self.cell.initial_state(1)
            action, noise = tf.zeros([1, self.action_size]), tf.zeros([1, self.cell.stoch_size])
            first = tf.ones([1], tf.bool)
            self.step(tf.zeros([1, *self.input_shape]), action, first, state, noise)
            _, states = self.cell.imagine(action[:, None], noise[:, None], state, unroll=True)
            for head in (self.decoder, self.reward, self.continuation, self.diagnosis):
                if head is not None:
                    head(self.cell.features(states))

        # A graph is faster than eager code: the kernels are not made ready one by one.
        tf.function(touch, autograph=False)()

    def preprocess(self, observation: tf.Tensor, noise: tf.Tensor) -> tf.Tensor:
        """Returns what the encoder reads and the decoder predicts.

        Args:
          observation: the environment's: uint8 [..., H, W, C] (see `images.preprocess`), or
            float32 [..., N], which is left as it is.
          noise: float32 [..., *input_shape], uniform in [0, 1).
        """
        if self.reads == "state":
            return observation
        return images.preprocess(images.downscale(observation, self.image_size), noise)

    def _preprocess_chunk(self, observation: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        shape = tf.concat([tf.shape(observation)[:2], self.input_shape], 0)
        return self.preprocess(observation, stateless_uniform(shape, seed))

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
        observation_seed, stoch_seed = tf.unstack(split_seed(seed, 2))
        observation = self._preprocess_chunk(batch[self.reads], observation_seed)
        seen = None
        if self.cell.blind_fraction:
            drawn = stateless_uniform(tf.shape(batch["reward"]), stateless_fold_in(seed, 1))
            seen = tf.ensure_shape(drawn, batch["reward"].shape) >= self.cell.blind_fraction
        posterior, prior, states = self._observe(observation, batch, stoch_seed, seen)
        feat = self.cell.features(states)
        # A reward [B, L, 1] would broadcast against the mean [B, L] where B == L.
        batch["reward"].shape.assert_is_compatible_with(feat.shape[:2])
        kl = tf.zeros_like(batch["reward"])
        if posterior is not None:
            kl = losses.divergence(posterior, prior)
        loss, terms = losses.negative_elbo(
            self.decoder.distribution(feat).log_prob(observation),
            self.reward.distribution(feat).log_prob(batch["reward"]),
            kl,
            **self._scales,
        )
        if posterior is not None:
            terms["prior_entropy"] = tf.reduce_mean(prior.entropy())
            terms["posterior_entropy"] = tf.reduce_mean(posterior.entropy())
        for term, scale, value in self._further_terms(batch, posterior, states, feat, seed):
            terms[term] = value
            loss += scale * value
        return loss, terms

    def _further_terms(self, batch, posterior, states, feat, seed):
        """Yields the terms that are off by default: their names, weights and values."""
        if self.overshooting_distance > 1:
            value = self._overshooting(batch, posterior, states, seed)
            yield "overshooting_loss", self._overshooting_scale, value
        if self._global_prior_scale:
            value = tf.reduce_mean(losses.global_divergence(posterior))
            yield "global_prior_loss", self._global_prior_scale, value
        if self.continuation is not None:
            goes_on = tf.cast(batch["discount"] > 0, tf.float32)
            value = -tf.reduce_mean(self.continuation.distribution(feat).log_prob(goes_on))
            yield "continuation_loss", self._continuation_scale, value
        if self.diagnosis is not None:
            there = self.diagnosis.distribution(tf.stop_gradient(feat))
            yield "state_loss", 1.0, -tf.reduce_mean(there.log_prob(batch["state"]))

    def _overshooting(self, batch, posterior, states, seed):
        distance, size = self.overshooting_distance, self.cell.stoch_size

        def imagine(action, state):
            shape = tf.stack([tf.shape(action)[0], distance, size])
            noise = stateless_normal(shape, stateless_fold_in(seed, 2))
            noise = tf.ensure_shape(noise, [action.shape[0], distance, size])
            prior, _ = self.cell.imagine(action, noise, state)
            return prior

        return losses.overshooting(
            posterior,
            states,
            batch["action"],
            batch["is_first"],
            imagine,
            distance,
            self._scales["free_nats"],
        )

    def _observe(self, observation, batch, seed, seen=None):
        shape = tf.concat([tf.shape(observation)[:2], [self.cell.stoch_size]], 0)
        noise = tf.ensure_shape(
            stateless_normal(shape, seed), [*observation.shape[:2], self.cell.stoch_size]
        )
        embed = self.encoder(observation)
        return self.cell.observe(embed, batch["action"], batch["is_first"], noise, seen=seen)

    def step(
        self,
        observation: tf.Tensor,
        action: tf.Tensor,
        is_first: tf.Tensor,
        state: latent_cell.State,
        noise,
    ) -> latent_cell.State:
        """Takes one filtering step: the state after `action` led to `observation`.

        Args:
          observation: preprocessed, float32 [B, *input_shape].
          action: float32 [B, A], the action that was executed before the observation.
          is_first: bool [B]; True starts the row from the zero state.
          state: a dict of the cell's parts, such as deter [B, D] and stoch [B, S].
          noise: float32 [B, S], standard normal.

        Returns:
          The state, and of a model that draws stoch the posterior's `mean` and `std`.
        """
        inputs = {
            "embed": self.encoder(observation),
            "action": action,
            "is_first": tf.cast(is_first, tf.float32)[:, None],
            "noise": noise,
        }
        out, _ = self.cell(inputs, (state,))
        return out

    def imagined_return(
        self, state: latent_cell.State, action: tf.Tensor, noise: tf.Tensor
    ) -> tf.Tensor:
        """Returns the undiscounted sum of predicted mean rewards, float32 [B], of action sequences.

        With a continuation head a step's reward counts as much as the episode is likely to have
        gone on up to it.

        Args:
          state: a dict of the cell's parts, such as deter [B, D] and stoch [B, S].
          action: float32 [B, H, A].
          noise: float32 [B, H, S], standard normal; the prior's samples along the way.
        """
        _, states = self.cell.imagine(action, noise, state, unroll=True)
        feat = self.cell.features(states)
        reward = self.reward(feat)
        if self.continuation is not None:
            goes_on = tf.sigmoid(self.continuation(feat))
            reward *= tf.math.cumprod(goes_on, -1, exclusive=True)
        return tf.reduce_sum(reward, -1)

    def predict(self, batch: Batch, context: int, seed: tf.Tensor) -> dict[str, tf.Tensor]:
        """Filters `context` steps, then predicts the rest from the actions alone.

        Args:
          batch: chunks; see `Batch`.
          context: number of observations the model may see, 1 to L - 1.
          seed: int32 [2].

        Returns:
          observation: float32 [B, L, *input_shape], the model's reconstruction (first `context`
            steps; of an RNN each is predicted from the ones before) and open-loop prediction (the
            others).
          target: float32 [B, L, *input_shape], the preprocessed observations.
          reward: float32 [B, L], predicted mean rewards.
          kl: float32 [B, L], nats: KL(posterior || prior), the posterior having seen all
            observations up to its step, the prior `context` at most; 0 of an RNN.

        Raises:
          ValueError: if context leaves nothing to see or nothing to predict.
        """
        length = batch["action"].shape[1]
        if not 0 < context < length:
            raise ValueError(f"context must be 1 to {length - 1} of {length} steps, got {context}")
        observation_seed, stoch_seed, open_seed = tf.unstack(split_seed(seed, 3))
        observation = self._preprocess_chunk(batch[self.reads], observation_seed)
        posterior, prior, states = self._observe(observation, batch, stoch_seed)
        states = {key: value[:, :context] for key, value in states.items()}
        last = {key: states[key][:, -1] for key in self.cell.state_sizes}
        action = batch["action"][:, context:]
        shape = tf.concat([tf.shape(action)[:2], [self.cell.stoch_size]], 0)
        noise = tf.ensure_shape(stateless_normal(shape, open_seed), [None, length - context, None])
        open_prior, ahead = self.cell.imagine(action, noise, last)
        kl = tf.zeros_like(batch["reward"])
        if posterior is not None:
            open_kl = losses.divergence(posterior[:, context:], open_prior)
            kl = tf.concat([losses.divergence(posterior, prior)[:, :context], open_kl], 1)
        feat = tf.concat([self.cell.features(states), self.cell.features(ahead)], 1)
        return {
            "observation": self.decoder.distribution(feat).mean(),
            "target": observation,
            "reward": self.reward.distribution(feat).mean(),
            "kl": kl,
        }


def _check_choice(name: str, value: str, choices) -> None:
    if value not in choices:
        raise ValueError(f"WorldModel.{name} must be one of {', '.join(choices)}, got {value!r}")
