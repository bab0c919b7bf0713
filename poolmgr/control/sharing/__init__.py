"""Sharing out budgets: the rule, the ledger of what each process may hold, and this process's part in it."""
