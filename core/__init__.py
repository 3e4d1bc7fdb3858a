"""The ground floor: values, geometry, codes and errors that every room shares. Imports nothing of ours."""
