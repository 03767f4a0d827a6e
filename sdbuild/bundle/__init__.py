"""The Resources folder for Apple's Swift package: put together, checked against its contract, described and zipped."""
