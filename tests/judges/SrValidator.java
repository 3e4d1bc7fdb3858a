import com.pixelmed.validate.DicomSRValidator;

/**
 * PixelMed's SR validator for several files in one virtual machine: reading its rules takes several seconds,
 * judging a document far less than one. Run as a source file: java -cp pixelmed.jar SrValidator.java FILE ...
 */
public class SrValidator {
    public static void main(String[] paths) throws Exception {
        DicomSRValidator validator = new DicomSRValidator();
        for (String path : paths) {
            System.out.println("=== " + path);
            try {
                System.out.println(validator.validate(path));
            } catch (Exception error) {
                System.out.println("Error: " + error);
            }
        }
    }
}
