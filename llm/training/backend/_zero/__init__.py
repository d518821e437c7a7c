"""DeepSpeed's ZeRO, by what each rank holds of the weights."""
