"""The command line. Most commands are derived from the contract; ten are written by hand because they talk with a
person or touch this machine: init, up, down, deploy, plan, open, logs, dev, explain, doctor."""
