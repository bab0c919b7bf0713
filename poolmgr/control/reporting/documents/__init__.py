"""What programs are told, whichever way they ask: plain values for JSON, the same from a terminal and over HTTP.

Keys stay what they are within a version of the interface; new ones may come. Durations are in seconds, moments in seconds
since the epoch, and what nobody knows is None, never 0.
"""
