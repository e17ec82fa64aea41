"""Running a plan: the graph on its engine, its workers, what is asked again before it."""
