"""Computing, with torch: images -> views -> network -> objective -> step; writes run folders."""
