"""From a bundle's graphs to TensorRT plans: shapes, the compiler in a process of its own, and the cache."""
