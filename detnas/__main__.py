"""`python -m detnas`, or `torchrun … -m detnas` for several processes."""

from detnas.cli.main import main

if __name__ == "__main__":
    main()
