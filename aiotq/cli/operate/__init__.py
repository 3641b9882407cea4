"""The commands of an operator: a file a command, whose function of the same name it is, with HELP and EXAMPLE."""
