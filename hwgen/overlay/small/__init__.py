"""The sequential engine: the same instructions, one after the other, by hardware that fits the smallest devices."""
