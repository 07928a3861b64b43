"""The peer: owns every task and wires the other packages together."""
