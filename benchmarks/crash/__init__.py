"""A fault campaign: real processes are killed at random moments, and nothing may be lost or done twice."""
