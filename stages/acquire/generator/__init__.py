"""The embedded generator: a seeded grammar of Esperanto with gold, English and planted truth."""
