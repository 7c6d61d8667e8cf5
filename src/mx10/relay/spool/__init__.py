"""Where messages wait until they are delivered: on disk before anybody is told that they were taken."""
