"""Correction to adapter: examples, QLoRA tuning, adapter registry, the bundled small model."""
