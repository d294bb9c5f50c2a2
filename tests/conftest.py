"""What every test shares: types and shapes checked at run time, the same examples on every machine, one thread."""

import torch
from hypothesis import settings
from jaxtyping import install_import_hook

# Every annotation of the library is checked while the tests run; must come before the first `import tenpapers`.
install_import_hook("tenpapers", "typecheck.check")

settings.register_profile("same-everywhere", derandomize=True, deadline=None, database=None)
settings.load_profile("same-everywhere")

torch.set_num_threads(1)
