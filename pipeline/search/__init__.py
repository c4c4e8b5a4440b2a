"""The exact search over decision trees with shared work; it knows nothing of orders.

To be read from the top:

    decision_tree_search     what goes in and comes out, as of GridSearchCV
    branch_and_bound         the steps of a search: what is fitted, what need not be
    candidates, folds        what is searched, and on which rows
    shared_trees             one tree that tells the scores of many candidates
    shared_scores            what those scores are worth, since ties may go otherwise
    tied_nodes, least_error  where ties are, and what is the best they can do
    splits, gains            all splits of nodes, and which of them are equally good
    workers, cluster         who does it: here, or on a Dask cluster as well

The other modules are what these need: arrays, and what is computed from them.
"""

from pipeline.search.decision_tree_search import DecisionTreeSearchCV

__all__ = ["DecisionTreeSearchCV"]
