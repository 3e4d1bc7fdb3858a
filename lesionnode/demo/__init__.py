"""``lesion-node demo``: the whole way on one machine, with a phantom as the patient."""

from lesionnode.demo.story import run_demo

__all__ = ["run_demo"]
