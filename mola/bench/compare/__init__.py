"""The same work done by others in the same process: PEFT, a loop over experts, TorchJD."""
