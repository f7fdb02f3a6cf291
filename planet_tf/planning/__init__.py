"""Planning: optimizers of action sequences behind one interface, and what they maximise."""

from planet_tf.planning.categorical_cem import CategoricalCEM
from planet_tf.planning.cem import CEM
from planet_tf.planning.icem import ICEM
from planet_tf.planning.mppi import MPPI
from planet_tf.planning.objective import ImaginedReturn, Objective
from planet_tf.planning.planner import Plan, Planner, Score, clip, most_probable
from planet_tf.planning.random_shooting import RandomShooting

__all__ = [
    "CEM",
    "ICEM",
    "MPPI",
    "CategoricalCEM",
    "ImaginedReturn",
    "Objective",
    "Plan",
    "Planner",
    "RandomShooting",
    "Score",
    "clip",
    "most_probable",
]
