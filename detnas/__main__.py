"""`python -m detnas`, and with several processes `torchrun … -m detnas`."""

from detnas.cli.main import main

if __name__ == "__main__":
    main()
