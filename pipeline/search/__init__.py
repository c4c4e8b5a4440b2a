"""The exact search over decision trees with shared work; it knows nothing of orders."""

from pipeline.search.tree_search import DecisionTreeSearchCV

__all__ = ["DecisionTreeSearchCV"]
