"""Looking for pairs by what they show: nearest ones, indexes of embeddings, clusters of concepts."""
