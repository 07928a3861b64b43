"""The replicated state machine of a run: state, commands, transitions, assignment, ledger."""
