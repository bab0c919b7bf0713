"""Kinds of target, one folder each, none of which knows another."""
