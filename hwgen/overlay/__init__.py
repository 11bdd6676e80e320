"""The overlay: one programmable engine; its instructions, a simulator of them, and the compiler from networks to programs."""
