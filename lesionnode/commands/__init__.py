"""Commands with bodies of their own, one module for each area; `lesionnode.cli` registers them."""
