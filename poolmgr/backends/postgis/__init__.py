"""``ENGINE = "poolmgr.backends.postgis"``: GeoDjango on managed pools."""
