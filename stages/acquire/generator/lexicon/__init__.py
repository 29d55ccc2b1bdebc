"""The lexicon: roots with English glosses, derived words, closed classes and names of places."""
