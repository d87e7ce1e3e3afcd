"""PivotRL: find the turns of recorded agent runs that are worth training on, and train on those alone."""
