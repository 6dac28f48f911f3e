"""ReAct: thought, action, observation, over a search tool that is really there."""
