"""Training: one loop, its schedules, its checkpoints. It knows no model by name."""
