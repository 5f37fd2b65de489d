"""`copier-honeycomb update`: run `copier update` isolated from the project, verify the result, apply it."""
