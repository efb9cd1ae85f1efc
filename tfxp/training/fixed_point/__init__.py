"""Training in which all five tensors are fixed point."""

import tfxp.keras  # noqa: F401  first, because it loads TensorFlow quietly
