"""shards: kept rows and their images, as WebDataset; see `curate.stages.shards.shards`."""
