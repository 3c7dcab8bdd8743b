"""What Airflow loads into each of its processes as it starts, before the rest of itself.

Its components make hundreds of thousands of objects once, and keep them: routes, models, serializers.
Python's collector of cyclic garbage goes over all of them again and again meanwhile: a fifth of the CPU that
the API server's application takes to be made (docs/performance.md).
"""

import gc

__all__: list[str] = []  # no policies

gc.freeze()
gc.set_threshold(50_000, 20, 100)
