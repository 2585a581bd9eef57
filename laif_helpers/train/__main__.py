"""``python -m laif_helpers.train CONFIG``: the training child, started by ``launch`` or by DeepSpeed's launcher."""

import sys

from laif_helpers.train import main

if __name__ == "__main__":
    main(sys.argv[1])
