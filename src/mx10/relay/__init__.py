"""The relay: takes mail, keeps it safe, and takes it to where it belongs."""
