"""The catalogues of poolmgr's messages: what is to be translated, gathered from the source, merged, compiled, checked."""
