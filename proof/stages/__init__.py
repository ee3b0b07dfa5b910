"""One module per stage; each offers `STAGE`. Found by themselves."""
