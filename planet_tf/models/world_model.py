"""The world model: encoder, latent model and heads; its loss, filtering and predictions."""

from collections.abc import Callable
from typing import Any, Literal

import tensorflow as tf
from tensorflow_probability import distributions as tfd

from planet_tf import checks, errors, seeds
from planet_tf.models import (
    images,
    losses,
    networks,
    optional_terms,
    parts,
    recurrence,
    rnn,
    rssm,
    ssm,
)

Batch = dict[str, tf.Tensor]
"""A batch of chunks, aligned so that action[:, t] led to image[:, t] and reward[:, t]: image uint8
[B, L, 64, 64, 3] and/or state float32 [B, L, N], action float32 [B, L, A], reward and discount
float32 [B, L], is_first bool [B, L].
"""

CELLS: dict[str, Any] = {"rssm": rssm.RSSMCell, "ssm": ssm.SSMCell, "rnn": rnn.RNNCell}
"""The latent models by the names that `WorldModel.latent` takes."""


@checks.configurable(denylist=["action_size", "image_shape", "state_size", "terminates"])
class WorldModel(tf.Module):
    """Predicts observations and rewards from actions in a latent space (paper section 3).

    It reads images if the environment shows them, else the state. A state next to images is
    predicted for diagnosis only: from features whose gradient is stopped.

    Args:
      action_size: A.
      image_shape: (H, W, C) of the environment's images; None: it shows none.
      state_size: N, components of the environment's state vector; 0: it shows none.
      terminates: whether episodes may end with discount 0.
      image_size: side in pixels of the square image that the model reads and predicts; if it is
        smaller than H and W, images are averaged down to it first.
      random_shift: largest random shift of a chunk's images, in pixels of the environment's image,
        applied in the loss, held-out chunks included; 0: none; see `images.shift`.
      latent: 'rssm', 'ssm' or 'rnn'; see `CELLS`.
      observation_scale: weight of -log p(observation) (release: 1).
      reward_scale: weight of -log p(reward) (release: 10).
      kl_scale: weight of the divergence (release: 1).
      kl_balance: the divergence's gradient on the prior relative to that on the posterior; 1:
        equal, as in the paper; see `losses.observed_divergence`.
      free_nats: divergence per step that costs nothing, in nats (release: 3).
      overshooting_distance: D of latent overshooting, in steps; 1: none.
      overshooting_scale: weight of the overshooting term.
      global_prior_scale: weight of KL(posterior || N(0, I)) (paper's SSM: 0.1).
      continuation_scale: weight of the term that learns where episodes end, which planning then
        takes into account; 0: all episodes are assumed to continue. None: 1 if episodes may end
        with discount 0, else 0.
      precision: 'float32', or 'mixed_bfloat16' or 'mixed_float16' for layers that compute in 16
        bits; parameters, latent states, likelihoods and divergences always are float32.
      encoder: a function or class that makes a custom encoder, without arguments: a network from
        float32 [N, *input_shape] to [N, E]; see `CustomNetwork`. None: the usual one.
      decoder: a function or class that makes a custom decoder, without arguments: a network from
        features, float32 [N, F], to the mean observation [N, *input_shape]. None: the usual one.

    Raises:
      ConfigError: if there is nothing to read, the deterministic model ('rnn') is given
        overshooting, a global prior or a KL balance, or a custom network returns something else.
    """

    def __init__(
        self,
        action_size: int,
        image_shape: tuple[int, int, int] | None = (64, 64, 3),
        state_size: int = 0,
        terminates: bool = False,
        image_size: checks.Count = 64,
        random_shift: checks.Natural = 0,
        latent: Literal["rssm", "ssm", "rnn"] = "rssm",
        observation_scale: checks.NonNegative = 1.0,
        reward_scale: checks.NonNegative = 10.0,
        kl_scale: checks.NonNegative = 1.0,
        kl_balance: checks.Positive = 1.0,
        free_nats: checks.NonNegative = 3.0,
        overshooting_distance: checks.Count = 1,
        overshooting_scale: checks.NonNegative = 1.0,
        global_prior_scale: checks.NonNegative = 0.0,
        continuation_scale: checks.NonNegative | None = None,
        precision: Literal["float32", "mixed_bfloat16", "mixed_float16"] = "float32",
        encoder: Callable[[], tf.Module] | None = None,
        decoder: Callable[[], tf.Module] | None = None,
        name: str = "world_model",
    ):
        super().__init__(name=name)
        if not image_shape and not state_size:
            raise errors.ConfigError("WorldModel: the environment shows neither image nor state")
        self.action_size, self.precision, self.image_size = action_size, precision, image_size
        self.reads = "image" if image_shape else "state"
        self._shift = random_shift if image_shape else 0
        self.input_shape: tuple[int, ...] = (state_size,)
        if image_shape:
            self.input_shape = (image_size, image_size, image_shape[-1])
        if continuation_scale is None:
            continuation_scale = float(terminates)
        self.loss_weights = losses.Weights(observation_scale, reward_scale, kl_scale, free_nats)
        self.kl_balance = kl_balance
        self.overshooting_distance = overshooting_distance
        with parts.precision(precision):
            self.encoder = parts.make_encoder(encoder, self.reads, self.input_shape)
            self.cell: Any = CELLS[latent]()
            self.decoder = parts.make_decoder(decoder, self.reads, self.input_shape, self.cell)
            self.reward: networks.RewardHead = networks.RewardHead()
            self.continuation: Any = networks.ContinuationHead() if continuation_scale else None
            self.diagnosis: Any = None
            if image_shape and state_size:
                self.diagnosis = networks.StateDecoder(state_size=state_size, name="diagnosis")
        of_divergence = overshooting_distance > 1 or global_prior_scale or kl_balance != 1.0
        if of_divergence and not self.cell.stoch_size:
            raise errors.ConfigError(
                f"WorldModel.latent={latent!r} draws nothing: it has no divergence for "
                "overshooting_distance, global_prior_scale or kl_balance",
                setting="WorldModel.latent",
            )
        self._optional_weights = {
            "overshooting": overshooting_scale if overshooting_distance > 1 else 0.0,
            "global_prior": global_prior_scale,
            "continuation": continuation_scale,
            "state": float(self.diagnosis is not None),
        }
        self._build()

    def _build(self) -> None:
        """Makes all variables, so that they can be counted, restored and shared."""

        def touch():
            state = self.cell.initial_state(1)
            action, noise = tf.zeros([1, self.action_size]), tf.zeros([1, self.cell.stoch_size])
            first = tf.ones([1], tf.bool)
            self.filter(tf.zeros([1, *self.input_shape]), action, first, state, noise)
            _, states = self.cell.imagine(action[:, None], noise[:, None], state, static=True)
            for head in (self.decoder, self.reward, self.continuation, self.diagnosis):
                if head is not None:
                    head(self.cell.features(states))

        # A graph is faster than eager code, which prepares the kernels one by one.
        tf.function(touch, autograph=False).get_concrete_function()()

    # The loss.

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
        # Folded in: 1 hidden images, 2 shifts, 3 overshooting; see `optional_terms.Chunks`.
        observation_seed, stoch_seed = seeds.split(seed, 2)
        observation = images.shift(batch[self.reads], self._shift, seeds.fold_in(seed, 2))
        observation = self.preprocess_chunk(observation, observation_seed)
        hidden = self._hidden(batch["reward"], seeds.fold_in(seed, 1))
        observed = self.observe(observation, batch, stoch_seed, **hidden)
        feat = self.cell.features(observed.states)
        # A reward [B, L, 1] would broadcast against the mean [B, L] if B == L.
        batch["reward"].shape.assert_is_compatible_with(feat.shape[:2])
        loss, terms = losses.negative_elbo(
            self.decoder.distribution(feat).log_prob(observation),
            self.reward.distribution(feat).log_prob(batch["reward"]),
            losses.observed_divergence(observed, self.kl_balance),
            self.loss_weights,
        )
        if observed.posterior is not None:
            terms["prior_entropy"] = tf.reduce_mean(observed.prior.entropy())
            terms["posterior_entropy"] = tf.reduce_mean(observed.posterior.entropy())
        chunks = optional_terms.Chunks(batch, observation, observed, feat, seed)
        for name, weight in self._optional_weights.items():
            if weight:
                terms[f"{name}_loss"] = term = optional_terms.TERMS[name](self, chunks)
                loss += weight * term
        return loss, terms

    def preprocess(self, observation: tf.Tensor, noise: tf.Tensor) -> tf.Tensor:
        """Returns what the encoder reads and the decoder predicts.

        Args:
          observation: uint8 [..., H, W, C] (see `images.preprocess`), or float32 [..., N], which
            is not changed.
          noise: float32 [..., *input_shape], uniform in [0, 1).
        """
        if self.reads == "state":
            return observation
        return images.preprocess(images.downscale(observation, self.image_size), noise)

    def preprocess_chunk(self, observation: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """Preprocesses the observations of chunks, [B, L, ...]; seed: int32 [2], for the noise."""
        shape = tf.concat([tf.shape(observation)[:2], self.input_shape], 0)
        return self.preprocess(observation, seeds.uniform(shape, seed))

    def observe(
        self, observation: tf.Tensor, batch: Batch, seed: tf.Tensor, **hidden: tf.Tensor
    ) -> recurrence.Observed:
        """Filters chunks; see `RSSMCell.observe`.

        Args:
          observation: preprocessed, float32 [B, L, *input_shape].
          batch: chunks.
          seed: int32 [2], draws stoch.
          **hidden: for an RNN, which images it sees; see `RNNCell.observe`.
        """
        noise = recurrence.chunk_noise(observation, self.cell.stoch_size, seed)
        embed = self.encoder(observation)
        return self.cell.observe(embed, batch["action"], batch["is_first"], noise, **hidden)

    def _hidden(self, reward: tf.Tensor, seed: tf.Tensor) -> dict[str, tf.Tensor]:
        """Returns `seen`, bool [B, L]: which images an RNN sees in the loss; {} for other cells."""
        if not (fraction := getattr(self.cell, "blind_fraction", 0.0)):
            return {}
        drawn = seeds.uniform(tf.shape(reward), seed)
        return {"seen": tf.ensure_shape(drawn, reward.shape) >= fraction}

    # Acting: filter one step, imagine many.

    def filter(
        self,
        observation: tf.Tensor,
        action: tf.Tensor,
        is_first: tf.Tensor,
        state: recurrence.State,
        noise: tf.Tensor,
    ) -> tuple[tfd.Distribution | None, recurrence.State]:
        """Takes one filtering step: to the state after `action` led to `observation`.

        Args:
          observation: preprocessed, float32 [B, *input_shape].
          action: float32 [B, A], the action that was executed before the observation.
          is_first: bool [B]; True starts the row from the zero state.
          state: a dict of the cell's parts, such as deter [B, D] and stoch [B, S].
          noise: float32 [B, S], standard normal.

        Returns:
          the posterior over stoch (None for an RNN), and the state.
        """
        first = tf.cast(is_first, tf.float32)[:, None]
        state, action = recurrence.reset_rows(state, action, first)
        return self.cell.posterior_step(state, action, self.encoder(observation), noise)

    def imagined_return(
        self, state: recurrence.State, action: tf.Tensor, noise: tf.Tensor
    ) -> tf.Tensor:
        """Returns the undiscounted sum of predicted mean rewards, float32 [B], of action sequences.

        With a continuation head, a step's reward is weighted by the probability that the episode
        has continued up to it.

        Args:
          state: a dict of the cell's parts, such as deter [B, D] and stoch [B, S].
          action: float32 [B, H, A].
          noise: float32 [B, H, S], standard normal; the prior's samples along the way.
        """
        _, states = self.cell.imagine(action, noise, state, static=True)
        feat = self.cell.features(states)
        reward = self.reward(feat)
        if self.continuation is not None:
            continues = tf.sigmoid(self.continuation(feat))
            reward *= tf.math.cumprod(continues, -1, exclusive=True)
        return tf.reduce_sum(reward, -1)
