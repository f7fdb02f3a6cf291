"""A tiny task that needs no simulator: steer a dot to a goal."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from planet_tf.environments.base import IMAGE_SIZE, TaskEnvironment

ENV_STEPS = 50
SPEED = 0.2  # distance that an action of 1 moves the dot per env step; the arena is 2 wide
REWARD_WIDTH = 0.5
GOAL = (0.5, 0.5)
MIN_START_DISTANCE = 0.5
DOT_RADIUS = 4.0  # pixels
GOAL_HALF_SIDE = 6.0  # pixels: the goal shows around the dot that has reached it
BACKGROUND = (16, 16, 32)
GOAL_COLOUR = (224, 64, 48)
DOT_COLOUR = (128, 240, 255)
_MARGIN = 7.0  # pixels from the image's border to the arena's


class DotGoal(TaskEnvironment):
    """A dot in the arena [-1, 1] x [-1, 1] that the action moves; the nearer the goal, the better.

    The action (x to the right, y up) is a velocity: per env step the dot moves by `SPEED` times the
    action and stops at the walls. The reward of an env step, after the move, is
    exp(-(distance / 0.5)^2 / 2), in (0, 1]. An episode has 50 env steps; the dot starts anywhere
    but within 0.5 of the goal, which stands still at (0.5, 0.5). The state is the dot's and the
    goal's position: (x, y, x, y). See TaskEnvironment for the rest.

    Attributes:
      dot, goal: float64 [2], positions (x, y) in the arena.
    """

    def __init__(
        self,
        seed: int | None = None,
        action_repeat: int = 1,
        observations: Sequence[str] = ("image",),
    ):
        """Initializes the task.

        Args:
          seed: int >= 0 that decides where the dot starts; None: random.
          action_repeat: env steps per agent step.
          observations: 'image', 'state' or both.

        Raises:
          ConfigError: if action_repeat is not a whole number from 1 to 50.
        """
        super().__init__("dot_goal", 2, action_repeat, ENV_STEPS, observations, state_size=4)
        self._random = np.random.RandomState(seed)
        self.dot, self.goal = np.zeros(2), np.array(GOAL)

    def seed(self, seed: int) -> None:
        """Seeds where the dot starts from the next reset on."""
        self._random.seed(seed)

    def oracle_action(self) -> np.ndarray:
        """Returns the action, float32 [2], that goes straight to the goal and stops on it."""
        action = (self.goal - self.dot) / (SPEED * self.action_repeat)
        return (action / max(1.0, np.abs(action).max())).astype(np.float32)

    def _start(self) -> None:
        while True:
            self.dot = self._random.uniform(-1.0, 1.0, 2)
            if np.linalg.norm(self.dot - self.goal) >= MIN_START_DISTANCE:
                return

    def _advance(self, action: np.ndarray) -> tuple[float, float | None]:
        self.dot = np.clip(self.dot + SPEED * action, -1.0, 1.0)
        distance = np.linalg.norm(self.dot - self.goal)
        return float(np.exp(-0.5 * (distance / REWARD_WIDTH) ** 2)), None

    def _state(self) -> np.ndarray:
        return np.concatenate([self.dot, self.goal]).astype(np.float32)

    def _draw(self) -> np.ndarray:
        image = np.full((IMAGE_SIZE, IMAGE_SIZE, 3), BACKGROUND, np.float64)
        rows, columns = np.mgrid[:IMAGE_SIZE, :IMAGE_SIZE]
        row, column = pixel(self.goal)
        away = np.maximum(np.abs(rows - row), np.abs(columns - column))
        _paint(image, GOAL_HALF_SIDE - away, GOAL_COLOUR)
        row, column = pixel(self.dot)
        _paint(image, DOT_RADIUS - np.hypot(rows - row, columns - column), DOT_COLOUR)
        return np.rint(image).astype(np.uint8)


def pixel(point: np.ndarray) -> tuple[float, float]:
    """Returns the (row, column) of the image, floats, that shows a point (x, y) of the arena."""
    scale = (IMAGE_SIZE - 1 - 2 * _MARGIN) / 2
    return _MARGIN + (1 - point[1]) * scale, _MARGIN + (point[0] + 1) * scale


def _paint(image: np.ndarray, inside: np.ndarray, colour: tuple[int, int, int]) -> None:
    """Paints, in place, the pixels `inside` a shape (distance in pixels), with a smooth border."""
    cover = np.clip(inside + 0.5, 0.0, 1.0)[..., None]
    image += cover * (np.asarray(colour) - image)
